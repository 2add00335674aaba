-- Highest and lowest price of {window} intervals and where the price stands between them.
CREATE OR REPLACE TABLE `{features}.channel_{window}_{pair}` AS
SELECT
  interval_time,
  MAX(close) OVER w AS high_{window},
  MIN(close) OVER w AS low_{window},
  SAFE_DIVIDE(close - MIN(close) OVER w, MAX(close) OVER w - MIN(close) OVER w) AS channel_position_{window}
FROM `{raw}.prices_{pair}`
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
