-- How straight the price has moved in {window} intervals: its correlation with time, and the slope.
CREATE OR REPLACE TABLE `{features}.trend_{window}_{pair}` AS
WITH numbered AS (
  SELECT interval_time, close, CAST(ROW_NUMBER() OVER (ORDER BY interval_time) AS FLOAT64) AS n
  FROM `{raw}.prices_{pair}`
)
SELECT
  interval_time,
  CORR(close, n) OVER w AS trend_{window},
  SAFE_DIVIDE(COVAR_POP(close, n) OVER w, VAR_POP(n) OVER w) AS slope_{window}
FROM numbered
WINDOW w AS (ORDER BY interval_time ROWS BETWEEN {preceding} PRECEDING AND CURRENT ROW)
