-- Correlation of each return with the one before it, over {window} intervals.
CREATE OR REPLACE TABLE `{features}.autocorrelation_{window}_{pair}` AS
WITH returns AS (
  SELECT interval_time, LN(close / LAG(close) OVER (ORDER BY interval_time)) AS r
  FROM `{raw}.prices_{pair}`
), lagged AS (
  SELECT interval_time, r, LAG(r) OVER (ORDER BY interval_time) AS before
  FROM returns
)
SELECT
  interval_time,
  CORR(r, before) OVER w AS autocorrelation_{window}
FROM lagged
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
