"""BigQuery of the local cloud: REST v2 (this module's port) and the Storage Read API (reads.py, a port of its own).

Data and SQL are those of local-bigquery, which runs as a child; identity, permissions and datasets' access are ours.
"""

from typing import TYPE_CHECKING, Any

from localcloud.bigquery.front import Front
from localcloud.bigquery.shelf import Shelf

if TYPE_CHECKING:
    from localcloud.cloud import Cloud
    from localcloud.shell import Service


def app(cloud: "Cloud") -> Any:
    """The ASGI application of the port `bigquery`."""
    warehouse = Shelf(cloud)
    cloud.parts["bigquery"] = warehouse
    return Front(cloud, warehouse).app


def services(cloud: "Cloud") -> "list[Service]":
    """The engine; call after `app`."""
    return [cloud.parts["bigquery"]]
