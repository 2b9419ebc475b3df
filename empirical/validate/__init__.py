"""Calibrate the simulator on some rows, forecast all others, score the forecast, predict what was not run."""
