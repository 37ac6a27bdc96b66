-- Serials are taken in blocks, so a certificate's own transaction only asks whether its authority is
-- still the one that signs; where it is not, it fails, and nothing that stands behind this is done.
create function certificate_authority_require(of_kind text, of_generation integer, in_state text)
  returns void language plpgsql stable as $$
begin
  if not exists (select from certificate_authority
    where kind = of_kind and generation = of_generation and state = in_state) then
    raise exception using errcode = 'VT002',
      message = format('the %s authority of generation %s is not %s', of_kind, of_generation, in_state);
  end if;
end
$$;
