-- Way between the ends of {window} intervals against the way that was gone.
CREATE OR REPLACE TABLE `{features}.efficiency_{window}_{pair}` AS
WITH returns AS (
  SELECT interval_time, close, LN(close / LAG(close) OVER (ORDER BY interval_time)) AS r
  FROM `{raw}.prices_{pair}`
)
SELECT
  interval_time,
  SAFE_DIVIDE(ABS(SUM(r) OVER w), SUM(ABS(r)) OVER w) AS efficiency_{window},
  MAX(ABS(r)) OVER w AS largest_move_{window}
FROM returns
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
