"""Time bundles, in turn with a floor and with other ways to compute the same, in one run."""
