"""The forecast's model as an asset, trained daily on the warehouse's sessions, and its score with a check."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from evcharge.errors import UserError
from evcharge.forecast.floor import FLOOR_PERCENT, MOST_ECE
from evcharge_assets.kafka import OWNER
from evcharge_assets.resources import Platform
from evcharge_assets.warehouse import table_key

MODEL = dg.AssetKey(["elasticsearch", "forecast_model"])
SCORE = dg.AssetKey(["elasticsearch", "forecast_score"])

_MODEL_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("version", "keyword", description="Hash of what was learned: equal sessions, equal version"),
        dg.TableColumn("trained_at", "date", description="When this version was first saved, UTC"),
        dg.TableColumn("source", "keyword", description="What it was learned from, in words"),
        dg.TableColumn("trained_on", "object", description="Sessions, stations and days, as JSON"),
        dg.TableColumn("parameters", "object", description="Kinds of sites, stations and calibration, as JSON"),
    ]
)
_SCORE_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("version", "keyword", description="The current version of the model"),
        dg.TableColumn("score", "object", description="Brier scores, skill and calibration by minutes ahead, as JSON"),
    ]
)


@dg.multi_asset(
    name="forecast",
    specs=[
        dg.AssetSpec(
            MODEL,
            deps=[table_key("fact_charging_sessions"), table_key("dim_station")],
            description="What the forecast of a station is made from: how long cars stay and when they come, by kind of "
            "site, learned from the newest sessions. Equal sessions give the same version.",
            group_name="elasticsearch",
            kinds={"elasticsearch", "clickhouse"},
            owners=[OWNER],
            metadata={"dagster/column_schema": _MODEL_COLUMNS},
            code_version="1",
        ),
        dg.AssetSpec(
            SCORE,
            deps=[table_key("fact_charging_sessions")],
            description="How good the forecasts are: the last days, forecast from the days before and compared with what "
            "happened, against no change and against the usual share of the local hour.",
            group_name="elasticsearch",
            kinds={"elasticsearch", "clickhouse"},
            owners=[OWNER],
            metadata={"dagster/column_schema": _SCORE_COLUMNS},
            code_version="1",
        ),
    ],
    pool="forecast_training",
)
def forecast(context: dg.AssetExecutionContext, platform: Platform) -> Any:
    # Imported here, because no other run needs it.
    from evcharge.forecast.daily_training import train_daily

    settings = platform.settings()
    if settings.profile == "small":
        for key in (MODEL, SCORE):
            yield dg.MaterializeResult(asset_key=key, metadata={"outcome": "this platform has no Elasticsearch"})
        return
    with platform.naming_servers(context, "clickhouse", "elasticsearch"):
        report = train_daily(settings, datetime.now(UTC))
    if report is None:
        for key in (MODEL, SCORE):
            yield dg.MaterializeResult(asset_key=key, metadata={"outcome": "no session is loaded yet"})
        return
    yield dg.MaterializeResult(
        asset_key=MODEL,
        metadata={
            "version": report.saved.version,
            "is_new": report.saved.is_new,
            "dagster/row_count": report.sessions,
            "days": round(report.days, 2),
            "stations": report.stations,
            "kinds": ", ".join(report.kinds),
            "size_bytes": report.saved.size_bytes,
        },
    )
    yield dg.MaterializeResult(
        asset_key=SCORE,
        metadata={"outcome": "two days of sessions are the least to score"}
        if report.score is None
        else {
            "version": report.saved.version,
            "score": dg.MetadataValue.json(report.score),
            **{
                f"skill_percent_{horizon['minutes']}_min": round(100 * (horizon["brier_skill"] or 0.0), 2)
                for horizon in report.score["horizons"]
            },
        },
    )


@dg.asset_check(
    asset=SCORE,
    name="forecast_is_good_enough",
    description="Skill against no change is at least "
    + ", ".join(f"{floor:g} % at {minutes} min" for minutes, floor in FLOOR_PERCENT.items())
    + f", and the calibration error at most {MOST_ECE}. Not judged where few samples were full.",
)
def forecast_is_good_enough(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
    from evcharge.forecast.daily_training import saved_score

    settings = platform.settings()
    try:
        with platform.naming_servers(context, "elasticsearch"):
            score = None if settings.profile == "small" else saved_score(settings)
    except UserError as error:
        return dg.AssetCheckResult(passed=True, severity=dg.AssetCheckSeverity.WARN, description=str(error))
    if score is None:
        return dg.AssetCheckResult(
            passed=True, severity=dg.AssetCheckSeverity.WARN, description="this platform has no Elasticsearch"
        )
    broken = score["shortcomings"]
    return dg.AssetCheckResult(
        passed=not broken,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(broken) or "as good as the floor, or too few samples were full to judge",
        metadata={"horizons": dg.MetadataValue.json(score["horizons"]), "broken": len(broken)},
    )


assets = [forecast]
checks = [forecast_is_good_enough]
