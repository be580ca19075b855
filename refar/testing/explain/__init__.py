"""What was measured, in words: tables of causes, each with the test that it has to pass and its sentence."""
