-- Fall from the highest price and rise from the lowest price of {window} intervals.
CREATE OR REPLACE TABLE `{features}.drawdown_{window}_{pair}` AS
SELECT
  interval_time,
  close / MAX(close) OVER w - 1 AS drawdown_{window},
  close / MIN(close) OVER w - 1 AS runup_{window}
FROM `{raw}.prices_{pair}`
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
