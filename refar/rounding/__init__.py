"""How far floating point may be off: bounds of one operator and of whole networks, certificates, tolerances."""
