"""Wrong code, as others wrote it: what it comes to on a case. What is wrong with an operator here never uses `refar.spec`."""
