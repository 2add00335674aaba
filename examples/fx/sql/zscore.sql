-- Distance of the price from its average over {window} intervals, in standard deviations.
CREATE OR REPLACE TABLE `{features}.zscore_{window}_{pair}` AS
SELECT
  interval_time,
  SAFE_DIVIDE(close - AVG(close) OVER w, STDDEV_SAMP(close) OVER w) AS zscore_{window}
FROM `{raw}.prices_{pair}`
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
