"""Calibration: what the engines answered, held against labels: how often they are right, and which cuts to set."""
