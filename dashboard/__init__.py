"""The web pages for drivers and operators, and the API behind them. It asks `evcharge.queries` and `evcharge.audit` only."""
