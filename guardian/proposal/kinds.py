"""What a service is, as far as its image and its name tell."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    DATABASE = "database"
    CACHE = "cache"
    BROKER = "message broker"
    SEARCH = "search engine"
    PROXY = "proxy"
    OBSERVABILITY = "observability"
    TOOL = "tool for people"
    JOB = "one-shot"
    APPLICATION = "application"


STORES = frozenset({Kind.DATABASE, Kind.CACHE, Kind.BROKER})

_NAMES: dict[Kind, str] = {
    Kind.DATABASE: """
        postgres postgresql postgis pgvector timescaledb cockroach mysql mariadb percona mongo mongodb mssql sqlserver oracle
        cassandra scylla couchdb couchbase neo4j arangodb rethinkdb clickhouse influxdb questdb duckdb tidb firebird surrealdb
        qdrant weaviate milvus chroma minio seaweedfs etcd vault db database sql pg
        """,
    Kind.CACHE: "redis valkey keydb dragonfly memcached memcache cache",
    Kind.BROKER: "rabbitmq kafka redpanda zookeeper nats mosquitto activemq artemis pulsar emqx broker queue mq",
    Kind.SEARCH: "elasticsearch opensearch solr meilisearch typesense manticore",
    Kind.PROXY: "nginx traefik caddy haproxy envoy kong apisix openresty varnish squid gateway proxy ingress lb loadbalancer edge",
    Kind.OBSERVABILITY: """
        prometheus alertmanager grafana loki promtail tempo mimir thanos jaeger zipkin otel opentelemetry collector kibana logstash
        fluentd fluent-bit fluentbit filebeat metricbeat heartbeat auditbeat packetbeat apm cadvisor exporter telegraf vector netdata graylog
        pyroscope statsd graphite datadog newrelic dozzle kuma glances signoz victoriametrics vmagent pushgateway
        """,
    Kind.TOOL: """
        adminer pgadmin phpmyadmin mongo-express redis-commander redisinsight mailhog mailpit maildev mailcatcher swagger-ui
        portainer watchtower flower kafdrop kafka-ui akhq cloudbeaver storybook jupyter
        """,
    Kind.JOB: "migrate migration migrations migrator init initializer seed seeder setup bootstrap createbuckets",
}
_KIND_OF = {name: kind for kind, names in _NAMES.items() for name in names.split()}
# A name that says where a thing runs and not what it is: `grafana-server`, `postgres-13`.
_SAYS_NOTHING = re.compile(
    r"v?[0-9.]*|server|service|svc|alpine|cp|node|primary|main|master|replica|agent|core|oss|bitnami|image"
)


class Guess(NamedTuple):
    """A kind, and what told it in words; empty where nothing did."""

    kind: Kind
    why: str = ""


def kind_of(name: str, image: str | None) -> Guess:
    """The image tells before the name; where neither does, it is an application."""
    repository = image_name(image)
    if repository and (found := _known(repository)):
        return Guess(found, f"image {repository}")
    if found := _known(name.lower()):
        return Guess(found, f"called {name}")
    return Guess(Kind.APPLICATION)


def image_name(image: str | None) -> str:
    """`registry:5000/library/postgres:15@sha256:…` -> `postgres`."""
    path = (image or "").partition("@")[0].lower()
    return path.rpartition("/")[2].partition(":")[0]


def _known(name: str) -> Kind | None:
    """By the whole name, else by its first or last word that says anything; an exporter of whatever is observability."""
    if found := _KIND_OF.get(name):
        return found
    words = [word for word in re.split(r"[-_.]+", name) if word and not _SAYS_NOTHING.fullmatch(word)]
    if "exporter" in words:
        return Kind.OBSERVABILITY
    for word in dict.fromkeys([*words[-1:], *words[:1]] if len(words) < 3 else words[-1:]):
        if found := _KIND_OF.get(word):
            return found
    return None
