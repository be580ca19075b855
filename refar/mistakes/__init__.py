"""The catalogue of mistakes that users are told by name: each has one name and one definition.

Where the vocabulary of graphs can say it, a mistake rewrites operators (`rewrites`): that serves whole graphs (`of_graphs`), as
in `check_module` and the golden networks, as well as one operator on the arrays of a golden case. All others are functions of
such arrays. `of_operators` has them all by operator: for the golden cases' `catches` and the likely causes of `check_function`.
Mistakes that only show whether the tests can fail are no part of it: tests/mutants plants those, beside the ones from here.
"""
