"""The contract table: a row a public rule (`rows`), and the checks that every row must pass (`contracts`)."""
