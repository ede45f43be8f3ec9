"""What figures are called: the technical and the business name of each."""

from __future__ import annotations

FIGURE_NAMES = {
    "predictions.rows": ("Rows", "Cases"),
    "predictions.mean": ("Mean prediction", "Mean prediction"),
    "predictions.median": ("Median prediction", "Prediction in the middle"),
    "predictions.below_share": ("Share below the boundary", "Share below the boundary"),
    "scenarios.solved_share": ("Rows with a scenario", "Cases with a way to another outcome"),
    "scenarios.mean_edits": ("Mean edits of a scenario", "Mean number of changes it takes"),
    "calibrated.mean_width": ("Mean interval width", "Mean width of the range"),
    "calibrated.coverage": ("Held-out coverage", "Targets within their range"),
}
"""Figures that two reports are compared by: the technical and the business name."""

DRIFT_FIGURES = {
    "psi": ("PSI of predictions", "Shift of the predictions (PSI)"),
    "driver_rank_correlation": ("Rank correlation of drivers", "Likeness of the order of reasons (1: same)"),
    "driver_shift": ("Shift of drivers", "Weight that moved to other information"),
    "global_driver_rank_correlation": (
        "Rank correlation of global drivers",
        "Likeness of what the models look at (1: same)",
    ),
    "global_driver_shift": ("Shift of global drivers", "Weight that moved within the model"),
    "persona_psi": ("PSI of personas", "Shift of the groups (PSI)"),
    "persona_shift": ("Shift of personas", "Cases that moved to other groups"),
    "rule_match_rate": ("Rule match rate", "Cases that earlier conditions fit"),
    "shared_rule_rate": ("Shared rule rate", "Cases judged by an earlier condition"),
    "interval_width_ratio": ("Ratio of interval widths", "Width of the ranges (now over before)"),
}
"""Figures of a comparison: the technical and the business name."""

METRIC_NAMES = {
    "validation_accuracy": ("Accuracy", "Predicted right"),
    "validation_auc": ("AUC", "Ranks cases right (AUC)"),
    "validation_log_loss": ("Log loss", "Log loss (0: perfect)"),
    "validation_brier": ("Brier score", "Brier score (0: perfect)"),
    "validation_calibration_error": ("Calibration error", "Probabilities are off by"),
    "validation_r2": ("R²", "Share of the differences explained (R²)"),
    "validation_rmse": ("RMSE", "Typical error (RMSE)"),
    "training_rows": ("Training rows", "Cases it learned from"),
    "validation_rows": ("Held-out rows", "Cases held out to judge it"),
    "dropped_rows": ("Rows left out", "Cases left out"),
    "fidelity": ("Fidelity", "Agreement with the original model"),
}
"""Metrics that ClearTrace Local tells; others keep the service's names."""
