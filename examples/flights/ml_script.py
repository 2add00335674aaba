"""Arrival delay of a flight at the moment it leaves the gate: a cross-validated model, in the form the runner expects.

Reads the dataset as data/read.json says and writes data/metrics.json, data/scored_rows.csv, data/alignment_check.json.
"""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import KFold

TARGET = "arr_delay"
CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = ["month", "day", "weekday", "sched_dep_time", "sched_arr_time", "dep_delay", "distance", "hour", "minute"]


def load() -> tuple[pd.DataFrame, bool]:
    read = json.loads(Path("data/read.json").read_text())
    table = pd.read_csv(read["data_path"], sep=read["sep"], decimal=read["decimal"], encoding=read["encoding"])
    return table, bool(read["safe_mode"])


def features(table: pd.DataFrame) -> pd.DataFrame:
    dates = pd.to_datetime(table[["year", "month", "day"]])
    chosen = table.assign(weekday=dates.dt.day_of_week)[NUMBERS + CATEGORIES].copy()
    for name in CATEGORIES:
        chosen[name] = chosen[name].astype("category")
    return chosen


def model() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        loss="squared_error", max_iter=120, learning_rate=0.15, categorical_features="from_dtype", random_state=0
    )


def cross_validate(x: pd.DataFrame, y: pd.Series, folds: int) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Predictions for every row by models that have not seen it, and the scores of each fold."""
    predicted = np.full(len(y), np.nan)
    landed = np.flatnonzero(y.notna().to_numpy())
    scores = []
    for number, (train, test) in enumerate(KFold(folds, shuffle=True, random_state=0).split(landed), start=1):
        began = time.monotonic()
        fitted = model().fit(x.iloc[landed[train]], y.iloc[landed[train]])
        rows = landed[test]
        predicted[rows] = fitted.predict(x.iloc[rows])
        truth = y.iloc[rows]
        scores.append(
            {
                "fold": number,
                "rows": len(rows),
                "mae_min": float(mean_absolute_error(truth, predicted[rows])),
                "rmse_min": float(root_mean_squared_error(truth, predicted[rows])),
                "r2": float(r2_score(truth, predicted[rows])),
            }
        )
        took = time.monotonic() - began
        print(f"fold {number}/{folds}: MAE {scores[-1]['mae_min']:.2f} min, R2 {scores[-1]['r2']:.3f}, {took:.1f} s")
        if number == 1:
            # Flights that never landed have no truth to be tested against; one model is enough to score them.
            unknown = np.flatnonzero(y.isna().to_numpy())
            predicted[unknown] = fitted.predict(x.iloc[unknown])
    return predicted, scores


def main() -> None:
    table, safe_mode = load()
    print(f"{len(table):,} rows, {len(table.columns)} columns")
    x, y = features(table), table[TARGET]
    folds = 2 if safe_mode else 5
    predicted, scores = cross_validate(x, y, folds)

    known = y.notna()
    baseline = float((y[known] - y[known].median()).abs().mean())
    mean = {name: float(np.mean([score[name] for score in scores])) for name in ("mae_min", "rmse_min", "r2")}
    metrics = {
        "model": "HistGradientBoostingRegressor",
        "target": TARGET,
        "rows": len(table),
        "rows_with_target": int(known.sum()),
        "folds": folds,
        "cv_mean": mean,
        "cv_folds": scores,
        "baseline_mae_min": baseline,
    }
    Path("data/metrics.json").write_text(json.dumps(metrics, indent=2))

    scored = pd.DataFrame(
        {"row": np.arange(len(table)), "flight": table["flight"], TARGET: y, "predicted": predicted.round(2)}
    )
    scored.to_csv("data/scored_rows.csv", index=False)
    written = pd.read_csv("data/scored_rows.csv", usecols=["row", "flight", "predicted"])
    check = {
        "rows_in": len(table),
        "rows_out": len(written),
        "same_order": bool((written["row"].to_numpy() == np.arange(len(table))).all()),
        "same_flights": bool((written["flight"].to_numpy() == table["flight"].to_numpy()).all()),
        "missing_predictions": int(written["predicted"].isna().sum()),
    }
    check["passed"] = (
        check["rows_in"] == check["rows_out"]
        and check["same_order"]
        and check["same_flights"]
        and not check["missing_predictions"]
    )
    Path("data/alignment_check.json").write_text(json.dumps(check, indent=2))
    print(f"MAE {mean['mae_min']:.2f} min (always the median: {baseline:.2f}), R2 {mean['r2']:.3f}")


if __name__ == "__main__":
    main()
