"""The web application: the pages, and the API that they ask."""

from __future__ import annotations

from apiflask import APIFlask
from flask import Flask
from flask_compress import Compress
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from werkzeug.middleware.proxy_fix import ProxyFix

from dashboard import (
    access_log,
    configuration,
    events,
    network,
    pages,
    problems,
    security,
    stations,
    status,
    trip,
    vehicles,
)
from dashboard.streams import Streams
from evcharge.queries.dashboard import DashboardOptions, Queries

API = "/api/v1"
#: A trip takes as long as so many other questions.
TRIP_COSTS = 10


def create_app(queries: Queries, options: DashboardOptions) -> APIFlask:
    """The application: its questions, and the web server's settings."""
    app = APIFlask(
        __name__,
        title="EVCharge dashboard",
        version=options.version,
        spec_path=f"{API}/openapi.json",
        # its pages of documentation load scripts from other sites
        docs_path=None,
        json_errors=False,
        static_folder="static",
    )
    app.config.update(
        TRUSTED_HOSTS=[*options.hosts],
        DESCRIPTION="Charging stations now, forecasts, trips and the network's figures. Reads only, without a login.",
        # the first one who asks would name the server for all
        AUTO_SERVERS=False,
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        TEMPLATES_AUTO_RELOAD=True,
        # event streams are neither buffered nor compressed
        COMPRESS_STREAMS=False,
        COMPRESS_MIMETYPES=[
            *("text/html", "text/css", "text/csv", "text/javascript", "application/json"),
            *("application/problem+json", "application/geo+json", "image/svg+xml"),
        ],
        COMPRESS_BR_LEVEL=4,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["queries"] = queries
    app.extensions["options"] = options
    app.extensions["streams"] = Streams(queries, options.streams)
    access_log.attach(app)
    security.attach(app, options)
    limiter = _limiter(app, options)
    Compress(app)
    for area in (configuration, stations, vehicles, trip, network, status, events):
        app.register_blueprint(area.blueprint, url_prefix=API)
    app.register_blueprint(pages.blueprint)
    trips = limiter.limit(f"{max(1, options.requests_per_minute // TRIP_COSTS)} per minute")
    app.view_functions["trip.trip"] = trips(app.view_functions["trip.trip"])  # type: ignore[assignment]
    problems.attach(app)
    app.spec_processor(problems.describe)  # type: ignore[arg-type]
    if options.proxies:
        count = options.proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=count)  # type: ignore[method-assign]
    return app


def _limiter(app: Flask, options: DashboardOptions) -> Limiter:
    """Requests per minute and address, counted in memory. Files of the pages do not count: browsers keep them."""
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri="memory://",
        application_limits=[f"{options.requests_per_minute} per minute"],
    )
    limiter.request_filter(security.is_static)
    return limiter
