-- How far the price has come in {window} intervals, simple and logarithmic.
CREATE OR REPLACE TABLE `{features}.returns_{window}_{pair}` AS
SELECT
  interval_time,
  close / LAG(close, {window}) OVER w - 1 AS return_{window},
  LN(close / LAG(close, {window}) OVER w) AS log_return_{window},
  close - LAG(close, {window}) OVER w AS change_{window}
FROM `{raw}.prices_{pair}`
WINDOW w AS (ORDER BY interval_time)
