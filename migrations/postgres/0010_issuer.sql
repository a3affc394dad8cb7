-- Records of an issuer are found in their order, however few they are. The issuer is what the leaf says: so records that a
-- version without this index appends are in it too, and what is erased of a person changes nothing.
CREATE INDEX record_issuer ON record ((leaf::json ->> 'issuer'), id);
