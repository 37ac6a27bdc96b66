-- People may name a tenant by the start of its id, which each login asks about.
create index tenant_id_start on tenant (left(tenant_id::text, 8));
