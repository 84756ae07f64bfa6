"""What bench_executor, bench_train and bench_memory are made of."""
