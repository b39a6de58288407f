-- The epoch, the number of each run's first event (nothing for one that follows the event
-- before it), whether to prune, and once a second the store's time.
local prune = (due or bytes > most) and 'prune' or nil
if slow then return {epoch, done, prune or '', store_time()} end
return {epoch, done, prune}
