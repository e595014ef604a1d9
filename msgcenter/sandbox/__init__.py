"""The sandbox: the whole product with its far ends simulated, and a walk-through that proves on them what it says."""
