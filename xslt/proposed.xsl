<?xml version="1.0" encoding="UTF-8"?>
<!--
  From what libvirt stores back to what people write: the inverse of stored.xsl.

  Every <interface type='ethernet'> whose alias has a request in its own domain's metadata becomes
  <interface type='physical'>: name, type and target first, then the rest in its order. A device name and
  an alias that were only derived from the MAC are left out, and so are all requests. Everything else is
  copied.

  XSLT 1.0 without extensions and without parameters:   xsltproc proposed.xsl guest.xml
-->
<xsl:stylesheet version="1.0"
    xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:physical="urn:libvirt-vepa:physical:1"
    exclude-result-prefixes="physical">

  <xsl:output method="xml" encoding="UTF-8"/>

  <xsl:template match="@* | node()">
    <xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy>
  </xsl:template>

  <!-- Requests are of no use once they are read; metadata that held nothing else goes too, with the blanks before it. -->
  <xsl:template match="domain/metadata/physical:interfaces | inactiveDomain/metadata/physical:interfaces"/>
  <xsl:template match="metadata/text()[normalize-space() = ''][following-sibling::node()[1][self::physical:interfaces]]"/>
  <xsl:template match="domain/metadata[physical:interfaces and not(*[not(self::physical:interfaces)] | comment() | processing-instruction())] |
      inactiveDomain/metadata[physical:interfaces and not(*[not(self::physical:interfaces)] | comment() | processing-instruction())]"/>
  <xsl:template match="text()[normalize-space() = ''][following-sibling::node()[1][self::metadata[physical:interfaces and
      not(*[not(self::physical:interfaces)] | comment() | processing-instruction())]]]"/>

  <xsl:template match="domain/devices/interface[@type = 'ethernet'] | inactiveDomain/devices/interface[@type = 'ethernet']">
    <xsl:variable name="request"
        select="../../metadata/physical:interfaces/physical:interface[@alias = current()/alias/@name][1]"/>
    <xsl:choose>
      <xsl:when test="$request">
        <xsl:call-template name="physical"><xsl:with-param name="request" select="$request"/></xsl:call-template>
      </xsl:when>
      <xsl:otherwise><xsl:copy><xsl:apply-templates select="@* | node()"/></xsl:copy></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template name="physical">
    <xsl:param name="request"/>
    <xsl:variable name="indent" select="text()[normalize-space() = '' and contains(., '&#10;')][1]"/>
    <xsl:variable name="digits" select="translate(mac/@address, 'ABCDEF:', 'abcdef')"/>
    <xsl:variable name="device" select="target/@dev[. != concat('vp', $digits)]"/>
    <interface type="physical">
      <xsl:apply-templates select="@*[name() != 'type']"/>
      <xsl:value-of select="$indent"/>
      <name><xsl:value-of select="$request/@name"/></name>
      <xsl:value-of select="$indent"/>
      <type><xsl:value-of select="$request/@type"/></type>
      <xsl:if test="$device or $request/@mode">
        <xsl:value-of select="$indent"/>
        <target>
          <xsl:copy-of select="$device"/>
          <xsl:copy-of select="$request/@mode"/>
        </target>
      </xsl:if>
      <xsl:apply-templates select="node()" mode="content"/>
    </interface>
  </xsl:template>

  <xsl:template match="node()" mode="content"><xsl:apply-templates select="."/></xsl:template>
  <xsl:template match="target" mode="content"/>
  <xsl:template match="text()[following-sibling::node()[1][self::target]]" mode="content"/>
  <!-- ua-physical- and twelve hexadecimal digits: nobody's choice. -->
  <xsl:template match="alias[starts-with(@name, 'ua-physical-') and string-length(@name) = 24 and
      translate(substring(@name, 13), '0123456789abcdef', '') = '']" mode="content"/>
  <xsl:template match="text()[following-sibling::node()[1][self::alias[starts-with(@name, 'ua-physical-') and
      string-length(@name) = 24 and translate(substring(@name, 13), '0123456789abcdef', '') = '']]]" mode="content"/>
</xsl:stylesheet>
