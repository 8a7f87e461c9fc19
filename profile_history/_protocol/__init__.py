"""The API's rules: what a request says, what a response must be, what each error means. No I/O."""
