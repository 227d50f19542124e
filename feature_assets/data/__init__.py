"""What is delivered and what it must look like: contract, description of a data set, validation, `Tables`."""
