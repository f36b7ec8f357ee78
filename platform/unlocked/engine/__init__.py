"""One engine: learners driven by a schedule of fixed lags, in this process or over Ray workers."""
