"""Classify iris flowers: `training` fits a model, `metrics` describes the result, `comparison` judges it.

Only `training` needs scikit-learn, so that comparing needs nothing but Python.
"""
