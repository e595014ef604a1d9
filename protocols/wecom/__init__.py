"""WeCom (企业微信) as bytes and values: callback crypto and XML, request bodies, answers, error codes, limits."""
