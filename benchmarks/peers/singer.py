"""A Singer tap by the SDK: one stream, one partition a profile, its messages written to nowhere.

The SDK asks for one partition after another; there is no setting for more at once. What its documentation has for speed
is used: messages written by msgspec, and no search for types below the first level of a row.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.pagination import BaseAPIPaginator, SinglePagePaginator

from benchmarks.peers.base import REQUEST, Peer
from profile_history._protocol.requests import PATH


class HistoryStream(RESTStream[Any]):
    """The rows of all profiles."""

    name = "history"
    path = PATH
    http_method = "POST"
    records_jsonpath = "$.data[*]"
    # Thousands of partitions need no bookmark each: so says the SDK's documentation.
    state_partitioning_keys: ClassVar[list[str]] = []
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.ROOT_ONLY
    schema = th.PropertiesList(
        th.Property("action", th.StringType),
        th.Property("datetime", th.DateTimeType),
        th.Property("count", th.IntegerType),
        th.Property("email", th.StringType),
        th.Property("list_id", th.IntegerType),
        th.Property("message_id", th.IntegerType),
        th.Property("campaign_id", th.IntegerType),
        th.Property("xxh", th.StringType),
    ).to_dict()
    rows = 0

    @property
    def url_base(self) -> str:
        """Return the address in front of the path."""
        return str(self.config["base_url"])

    @property
    def partitions(self) -> list[dict[str, Any]]:
        """Return the requests of a run, one per profile."""
        return [{"number": number} for number in range(self.config["profiles"])]

    def get_new_paginator(self) -> BaseAPIPaginator[Any]:
        """Return a paginator of one page, since a response is whole."""
        return SinglePagePaginator()

    def prepare_request_payload(self, context: Any, next_page_token: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return the request's body."""
        return {**REQUEST, "email": f"user{context['number']}@example.com"}

    def post_process(self, row: dict[str, Any], context: Any = None) -> dict[str, Any]:  # noqa: ARG002
        """Count the rows, which only the messages would show otherwise."""
        self.rows += 1
        return row


class HistoryTap(Tap):
    """The tap."""

    name = "tap-history"
    message_writer_class = MsgSpecWriter
    config_jsonschema = th.PropertiesList(
        th.Property("base_url", th.StringType), th.Property("profiles", th.IntegerType)
    ).to_dict()

    def discover_streams(self) -> list[HistoryStream]:
        """Return the only stream."""
        return [HistoryStream(self)]


class Singer(Peer):
    """A tap for each turn, as a run of it has one."""

    def open(self) -> None:
        """Keep the log of metrics out of the measurement."""
        logging.disable(logging.WARNING)

    def prepare(self, requests: int) -> None:
        """Make the tap and its catalogue."""
        self.tap = HistoryTap(config={"base_url": self.site.base_url, "profiles": requests}, setup_mapper=True)

    def fetch(self, requests: int) -> int:  # noqa: ARG002 - the tap was made for as many
        """Have it sync everything."""
        self.tap.sync_all()
        stream = self.tap.streams["history"]
        assert isinstance(stream, HistoryStream)
        return stream.rows
