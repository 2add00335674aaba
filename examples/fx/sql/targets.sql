-- What is to be learnt: return and direction so many intervals ahead.
CREATE OR REPLACE TABLE `{features}.targets_{pair}` AS
SELECT
  interval_time,
  {horizons}
FROM `{raw}.prices_{pair}`
WINDOW w AS (ORDER BY interval_time)
