<?xml version="1.0" encoding="UTF-8"?>
<!--
  For hosts without the hook: from what people write to libvirt's own interfaces.

  Every <interface type='physical'> becomes <interface type='direct'> (macvtap) or <interface type='bridge'>
  (tap). What a name means is decided when this sheet runs, not when the guest starts. For a document in the
  stored form run proposed.xsl first.

  XSLT 1.0 without extensions:
      xsltproc -stringparam hosts 'lan=eth0,vepa,br-lan wan=eth1,bridge' native.xsl guest.xml

  Parameter:
    hosts   what each name means there: NAME=NIC,MODE[,BRIDGE], separated by blanks. MODE (vepa, pepa or
            bridge) is what a request without a mode gets, BRIDGE what a tap joins.
-->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">

  <xsl:output method="xml" encoding="UTF-8"/>
  <xsl:param name="hosts" select="''"/>

  <xsl:template match="@* | node()">
    <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
  </xsl:template>

  <xsl:template match="/interface[@type = 'physical'] | domain/devices/interface[@type = 'physical'] |
      inactiveDomain/devices/interface[@type = 'physical']">
    <xsl:variable name="name" select="normalize-space(name)"/>
    <xsl:variable name="all" select="concat(' ', normalize-space($hosts), ' ')"/>
    <xsl:variable name="host" select="substring-before(substring-after($all, concat(' ', $name, '=')), ' ')"/>
    <xsl:variable name="rest" select="concat(substring-after($host, ','), ',')"/>
    <xsl:variable name="bridge" select="substring-before(substring-after($rest, ','), ',')"/>
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <xsl:if test="not($host) or contains($name, ' ')">
      <xsl:message terminate="yes">what '<xsl:value-of select="$name"/>' means is not in the parameter 'hosts'</xsl:message>
    </xsl:if>
    <interface>
      <xsl:choose>
        <xsl:when test="normalize-space(type) = 'tap'">
          <xsl:if test="not($bridge)">
            <xsl:message terminate="yes">'<xsl:value-of select="$name"/>' has no bridge for a tap in the parameter 'hosts'</xsl:message>
          </xsl:if>
          <xsl:attribute name="type">bridge</xsl:attribute>
          <xsl:apply-templates select="@*[name() != 'type']"/>
          <xsl:value-of select="$indent"/>
          <source bridge="{$bridge}"/>
        </xsl:when>
        <xsl:otherwise>
          <xsl:variable name="mode">
            <xsl:choose>
              <xsl:when test="target/@mode"><xsl:value-of select="target/@mode"/></xsl:when>
              <xsl:otherwise><xsl:value-of select="substring-before($rest, ',')"/></xsl:otherwise>
            </xsl:choose>
          </xsl:variable>
          <xsl:attribute name="type">direct</xsl:attribute>
          <xsl:apply-templates select="@*[name() != 'type']"/>
          <xsl:value-of select="$indent"/>
          <source dev="{substring-before(concat($host, ','), ',')}">
            <xsl:attribute name="mode">
              <xsl:choose>
                <xsl:when test="$mode = 'pepa'">private</xsl:when>
                <xsl:when test="$mode = 'veb'">bridge</xsl:when>
                <xsl:otherwise><xsl:value-of select="$mode"/></xsl:otherwise>
              </xsl:choose>
            </xsl:attribute>
          </source>
        </xsl:otherwise>
      </xsl:choose>
      <xsl:apply-templates select="node()" mode="content"/>
    </interface>
  </xsl:template>

  <xsl:template match="node()" mode="content"><xsl:apply-templates select="."/></xsl:template>
  <xsl:template match="name | type | target[not(@dev)]" mode="content"/>
  <xsl:template match="target" mode="content"><target dev="{@dev}"/></xsl:template>
  <xsl:template match="text()[following-sibling::node()[1][self::name or self::type or self::target[not(@dev)]]]"
      mode="content" priority="2"/>
  <xsl:template match="text()[starts-with(normalize-space(), '//')]" mode="content" priority="1">
    <xsl:value-of select="../text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
  </xsl:template>
</xsl:stylesheet>
