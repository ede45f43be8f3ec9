"""Calibrated rules for rows: asked, written in parts, published whole."""
