-- Correlation of the returns with those of three other pairs over {window} intervals.
CREATE OR REPLACE TABLE `{features}.correlation_{window}_{pair}` AS
WITH returns AS (
  SELECT
    p.interval_time,
    LN(p.close / LAG(p.close) OVER (ORDER BY p.interval_time)) AS own,
    LN(a.close / LAG(a.close) OVER (ORDER BY p.interval_time)) AS first,
    LN(b.close / LAG(b.close) OVER (ORDER BY p.interval_time)) AS second,
    LN(c.close / LAG(c.close) OVER (ORDER BY p.interval_time)) AS third
  FROM `{raw}.prices_{pair}` AS p
  LEFT JOIN `{raw}.prices_{other1}` AS a ON a.interval_time = p.interval_time
  LEFT JOIN `{raw}.prices_{other2}` AS b ON b.interval_time = p.interval_time
  LEFT JOIN `{raw}.prices_{other3}` AS c ON c.interval_time = p.interval_time
)
SELECT
  interval_time,
  CORR(own, first) OVER w AS correlation_{other1}_{window},
  CORR(own, second) OVER w AS correlation_{other2}_{window},
  CORR(own, third) OVER w AS correlation_{other3}_{window}
FROM returns
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
