-- Saves what has changed. A caller that named its keys by another life gets the right one.
save(call)
if s.life ~= ARGV[2] then return {'', format('%.0f', s.last), s.life} end
