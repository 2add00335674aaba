-- Share of rising intervals among {window}, and how much of the movement was upward.
CREATE OR REPLACE TABLE `{features}.updown_{window}_{pair}` AS
WITH returns AS (
  SELECT interval_time, close, LN(close / LAG(close) OVER (ORDER BY interval_time)) AS r
  FROM `{raw}.prices_{pair}`
)
SELECT
  interval_time,
  AVG(IF(r > 0, 1.0, 0.0)) OVER w AS up_share_{window},
  SAFE_DIVIDE(SUM(IF(r > 0, r, 0.0)) OVER w, SUM(ABS(r)) OVER w) AS up_strength_{window}
FROM returns
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
