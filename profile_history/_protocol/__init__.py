"""The API's rules: what a request says, what a response has to be, what each error means. No I/O."""
