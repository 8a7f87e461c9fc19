"""dlt's declarative source `rest_api`: one resource that depends on a list of profiles, extracted in parallel.

Only the extraction is measured; dlt's normalising and loading are in the figure `export`.
"""

from __future__ import annotations

import os
from typing import Any

import dlt
import requests.adapters
from dlt.sources.helpers.requests import Client
from dlt.sources.rest_api import rest_api_source

from benchmarks.peers.base import REQUEST, Peer
from profile_history._protocol.requests import PATH


class RestApi(Peer):
    """One session of requests, its pool as large as the number of requests in flight."""

    def open(self) -> None:
        """Make the session, and let dlt have as many requests in flight as everybody."""
        os.environ["EXTRACT__WORKERS"] = str(self.site.in_flight)
        os.environ["EXTRACT__MAX_PARALLEL_ITEMS"] = str(self.site.in_flight)
        self.session = Client(raise_for_status=False).session
        self.session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=self.site.in_flight))

    def fetch(self, requests: int) -> int:
        """Read all rows of a source."""

        @dlt.resource(name="profiles")
        def profiles() -> Any:
            yield [{"email": f"user{number}@example.com"} for number in range(requests)]

        source = rest_api_source(
            {
                "client": {"base_url": self.site.base_url, "session": self.session},
                "resource_defaults": {"parallelized": True},
                "resources": [
                    profiles(),
                    {
                        "name": "history",
                        "endpoint": {
                            "path": PATH.lstrip("/"),
                            "method": "POST",
                            "json": {**REQUEST, "email": "{resources.profiles.email}"},
                            "data_selector": "data",
                            "paginator": "single_page",
                        },
                    },
                ],
            }
        )
        rows = 0
        for _row in source.resources["history"]:
            rows += 1
        return rows

    def close(self) -> None:
        """Close the session."""
        self.session.close()
