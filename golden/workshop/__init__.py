"""The workshop of the golden vectors: what is expected, computed from the definitions; run by `refar golden write` in a checkout.

Nothing here is installed: a wheel holds the vectors themselves, and `refar.golden` reads them.
"""
