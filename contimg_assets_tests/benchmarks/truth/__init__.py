"""What `bench_truth` measures: simulated surveys against their truth, real surveys against themselves."""
