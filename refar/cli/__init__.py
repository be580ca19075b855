"""The refar command."""
