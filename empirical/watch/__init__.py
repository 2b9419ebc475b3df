"""A run watched while it trains: what logs say, what a few audited rollouts prove, what cannot be known."""

from empirical.watch.alarms import Alarm, Alarms, Declared
from empirical.watch.labels import Unit
from empirical.watch.monitor import Monitor, Settings, Watched

__all__ = ["Alarm", "Alarms", "Declared", "Monitor", "Settings", "Unit", "Watched"]
