-- Bands of two standard deviations around the average of {window} intervals.
CREATE OR REPLACE TABLE `{features}.bands_{window}_{pair}` AS
SELECT
  interval_time,
  AVG(close) OVER w + 2 * STDDEV_SAMP(close) OVER w AS band_high_{window},
  AVG(close) OVER w - 2 * STDDEV_SAMP(close) OVER w AS band_low_{window},
  SAFE_DIVIDE(4 * STDDEV_SAMP(close) OVER w, AVG(close) OVER w) AS band_width_{window}
FROM `{raw}.prices_{pair}`
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
