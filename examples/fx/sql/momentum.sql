-- Returns of the last {window} intervals against those of the {window} before them.
CREATE OR REPLACE TABLE `{features}.momentum_{window}_{pair}` AS
SELECT
  interval_time,
  close / LAG(close, {window}) OVER w AS momentum_{window},
  close / LAG(close, {window}) OVER w - LAG(close, {window}) OVER w / LAG(close, {double}) OVER w AS acceleration_{window}
FROM `{raw}.prices_{pair}`
WINDOW w AS (ORDER BY interval_time)
