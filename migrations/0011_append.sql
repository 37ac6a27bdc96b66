-- An append is one statement, so that a log is locked no longer than it takes to write in it.

-- A compact range with one more leaf: RFC 6962 section 2.1, as src/audit/merkle.ts has it.
create function audit_grow(hashes bytea[], size bigint, leaf_hash bytea) returns bytea[]
  language plpgsql immutable strict parallel safe as $$
declare
  node bytea := leaf_hash;
  kept integer := cardinality(hashes);
  rest bigint := size;
begin
  -- Each bit set at the end of size is a perfect subtree that this leaf completes.
  while rest % 2 = 1 loop
    if kept = 0 then
      raise exception 'these are not the hashes of % leaves', size;
    end if;
    node := sha256('\x01'::bytea || hashes[kept] || node);
    kept := kept - 1;
    rest := rest / 2;
  end loop;
  return array_append(hashes[:kept], node);
end
$$;

-- Appends a leaf, of which the name of the log is left out between before and after, with its private
-- payload, where salt is one. Answers at which index. Waits for the log's lock, and holds it until the
-- transaction ends.
create function audit_append(id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql as $$
declare
  head audit_tree;
  whole bytea;
  node bytea;
begin
  -- Row-level security leaves one row: the tenant's. Without one nothing is appended, nor done.
  select * into strict head from audit_tree for update;
  whole := before || convert_to(head.origin, 'UTF8') || after;
  node := sha256('\x00'::bytea || whole);
  update audit_tree set size = head.size + 1, hashes = audit_grow(head.hashes, head.size, node);
  insert into audit_leaf (leaf_index, event_id, leaf, leaf_hash) values (head.size, id, whole, node);
  if salt is not null then
    insert into audit_private (event_id, salt, payload) values (id, salt, payload);
  end if;
  return head.size;
end
$$;

-- What is asked together with a secret's use, in front of it: while the vault is sealed, the
-- transaction fails here, and nothing that stands behind it is done.
create function vault_require_unsealed() returns void language plpgsql stable as $$
begin
  if (select sealed from vault_state) is not false then
    raise exception using errcode = 'VT001', message = 'the vault is sealed';
  end if;
end
$$;

revoke execute on function audit_grow, audit_append, vault_require_unsealed from public;
grant execute on function audit_grow, audit_append to vaultterm_app, vaultterm_bastion;
grant execute on function vault_require_unsealed to vaultterm_app;
