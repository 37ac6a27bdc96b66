-- Serials are taken in blocks, so a certificate's own transaction only asks whether its authority is
-- still the one that signs, and knows of the serial; where not, it fails, and nothing of it is done. Ask
-- behind the append: whoever turns an authority holds the log's lock.
create function certificate_authority_require(
  of_kind text, of_generation integer, in_state text, of_serial bigint)
  returns void language plpgsql stable as $$
begin
  if not exists (select from certificate_authority
    where kind = of_kind and generation = of_generation and state = in_state
      and last_serial >= of_serial) then
    raise exception using errcode = 'VT002', message = format(
      'the %s authority of generation %s is not %s, or has not given serial %s',
      of_kind, of_generation, in_state, of_serial);
  end if;
end
$$;
revoke execute on function certificate_authority_require from public;
grant execute on function certificate_authority_require to vaultterm_app;
