"""The parts that all experiments share: their description, announcement, course and page."""
