"""How long bundles take, beside a floor and beside other ways to compute the same, measured in turn in one run."""
