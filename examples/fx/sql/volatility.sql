-- Spread of the logarithmic returns of {window} intervals.
CREATE OR REPLACE TABLE `{features}.volatility_{window}_{pair}` AS
WITH returns AS (
  SELECT interval_time, close, LN(close / LAG(close) OVER (ORDER BY interval_time)) AS r
  FROM `{raw}.prices_{pair}`
)
SELECT
  interval_time,
  STDDEV_SAMP(r) OVER w AS volatility_{window},
  SQRT(AVG(r * r) OVER w) AS rms_return_{window},
  AVG(ABS(r)) OVER w AS mean_abs_return_{window}
FROM returns
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
