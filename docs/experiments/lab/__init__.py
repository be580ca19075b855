"""What all experiments share: how they are described, announced, run and told."""
