-- Moving average of {window} intervals and the distance of the price from it.
CREATE OR REPLACE TABLE `{features}.sma_{window}_{pair}` AS
SELECT
  interval_time,
  AVG(close) OVER w AS sma_{window},
  close / AVG(close) OVER w - 1 AS sma_distance_{window}
FROM `{raw}.prices_{pair}`
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
